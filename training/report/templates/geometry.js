"use strict";

// One view of a slice: the equations of docs/geometry.md, as in spuproj/reference.py and spuproj/geometry/. Points are
// (row, column) in pixels, angles in radians, lengths in the unit of the spacing. Functions that map a point write it to
// their last argument and return whether it lies in the domains of both profiles.

const BORDER_TOLERANCE = 1e-6;
const ANGLE_TOLERANCE = 1e-12;

// Faster than a power.
const cube = (value) => value * value * value;

const PROFILES = {
  gnomonic: {
    radius: Math.tan,
    angle: Math.atan,
    areaFactor: (theta) => 1 / cube(Math.cos(theta)),
    angleLimit: Math.PI / 2,
    radiusLimit: Infinity,
  },
  stereographic: {
    radius: (theta) => 2 * Math.tan(theta / 2),
    angle: (s) => 2 * Math.atan(s / 2),
    areaFactor: (theta) => 1 / (cube(Math.cos(theta / 2)) * Math.cos(theta / 2)),
    angleLimit: Math.PI,
    radiusLimit: Infinity,
  },
  equidistant: {
    radius: (theta) => theta,
    angle: (s) => s,
    areaFactor: (theta) => (theta > 0 ? theta / Math.sin(theta) : 1),
    angleLimit: Math.PI,
    radiusLimit: Math.PI,
  },
  equal_area: {
    radius: (theta) => 2 * Math.sin(theta / 2),
    angle: (s) => 2 * Math.asin(s / 2),
    areaFactor: () => 1,
    angleLimit: Math.PI,
    radiusLimit: 2,
  },
  orthographic: {
    radius: Math.sin,
    angle: Math.asin,
    areaFactor: Math.cos,
    angleLimit: Math.PI / 2,
    radiusLimit: 1,
  },
};

function inDomain(profile, theta) {
  const closed = Number.isFinite(profile.radiusLimit);
  return closed ? theta <= profile.angleLimit + ANGLE_TOLERANCE : theta < profile.angleLimit;
}

// The polar angles of the last point, on the sphere of the plane it came from and of the plane it went to.
const angles = new Float64Array(2);

function planeToSphere(plane, dy, dx, s) {
  const distance = Math.sqrt(dy * dy + dx * dx);
  if (!(distance <= plane.scale * plane.profile.radiusLimit + BORDER_TOLERANCE)) return false;
  const theta = plane.profile.angle(Math.min(distance / plane.scale, plane.profile.radiusLimit));
  angles[0] = theta;
  const perDistance = distance > 0 ? Math.sin(theta) / distance : 0;
  s[0] = perDistance * dy;
  s[1] = perDistance * dx;
  s[2] = Math.cos(theta);
  return true;
}

function sphereToPlane(plane, s, point) {
  const sine = Math.sqrt(s[0] * s[0] + s[1] * s[1]);
  const theta = Math.atan2(sine, s[2]);
  if (!inDomain(plane.profile, theta)) return false;
  angles[1] = theta;
  const length = plane.scale * plane.profile.radius(theta);
  // At the poles the azimuth is 0, along +x.
  point[0] = sine > 0 ? length * (s[0] / sine) : 0;
  point[1] = sine > 0 ? length * (s[1] / sine) : length;
  return true;
}

// The matrix has its rows one after the other; its inverse is its transpose.
function rotate(matrix, inverse, s) {
  const row = inverse ? 1 : 3;
  const column = inverse ? 3 : 1;
  const y = s[0];
  const x = s[1];
  const pole = s[2];
  s[0] = matrix[0] * y + matrix[column] * x + matrix[2 * column] * pole;
  s[1] = matrix[row] * y + matrix[row + column] * x + matrix[row + 2 * column] * pole;
  s[2] = matrix[2 * row] * y + matrix[2 * row + column] * x + matrix[8] * pole;
}

const vector = new Float64Array(3);

function planeToPlane(start, end, matrix, inverse, dy, dx, point) {
  if (!planeToSphere(start, dy, dx, vector)) return false;
  if (isSimilarity(start, end, matrix)) {
    const ratio = end.scale / start.scale;
    point[0] = ratio * (matrix[0] * dy + matrix[inverse ? 3 : 1] * dx);
    point[1] = ratio * (matrix[inverse ? 1 : 3] * dy + matrix[4] * dx);
    return true;
  }
  rotate(matrix, inverse, vector);
  return sphereToPlane(end, vector, point);
}

// Equal profiles, and a rotation about the pole: the view zooms, turns and flips the slice.
function isSimilarity(start, end, matrix) {
  return start.profile === end.profile && matrix[8] === 1;
}

function toView(view, y, x, point) {
  const dy = (y - view.tangent[0]) * view.spacing[0];
  const dx = (x - view.tangent[1]) * view.spacing[1];
  if (!planeToPlane(view.lift, view.chart, view.rotation, false, dy, dx, point)) return false;
  point[0] += view.pole[0];
  point[1] += view.pole[1];
  return true;
}

function toSlice(view, v, u, point) {
  const dv = v - view.pole[0];
  const du = u - view.pole[1];
  if (!planeToPlane(view.chart, view.lift, view.rotation, true, dv, du, point)) return false;
  point[0] = view.tangent[0] + point[0] / view.spacing[0];
  point[1] = view.tangent[1] + point[1] / view.spacing[1];
  return true;
}

// Whether a point lies in an image of this size; if it does, rounding errors beyond the border are removed.
function snap(point, size) {
  for (let axis = 0; axis < 2; axis += 1) {
    const last = size[axis] - 1;
    if (!(point[axis] >= -BORDER_TOLERANCE && point[axis] <= last + BORDER_TOLERANCE)) return false;
    point[axis] = Math.min(Math.max(point[axis], 0), last);
  }
  return true;
}

// Where in the slice each view pixel comes from, row by row; NaN where invalid.
function sliceCoordinates(view) {
  const [height, width] = view.viewSize;
  const y = new Float64Array(height * width).fill(NaN);
  const x = new Float64Array(height * width).fill(NaN);
  const point = new Float64Array(2);
  for (let v = 0, at = 0; v < height; v += 1) {
    for (let u = 0; u < width; u += 1, at += 1) {
      if (toSlice(view, v, u, point) && snap(point, view.size)) {
        y[at] = point[0];
        x[at] = point[1];
      }
    }
  }
  return { y, x };
}

const landing = new Float64Array(2);

// View area per slice area at a point of the slice, in pixels; NaN where the view does not show it.
function magnificationAt(view, y, x) {
  if (!toView(view, y, x, landing) || !snap(landing, view.viewSize)) return NaN;
  const ratio = view.chart.scale / view.lift.scale;
  const factor = ratio * ratio * view.spacing[0] * view.spacing[1];
  if (isSimilarity(view.lift, view.chart, view.rotation)) return factor;
  return factor * view.chart.profile.areaFactor(angles[1]) / view.lift.profile.areaFactor(angles[0]);
}

// The magnification at each slice pixel, row by row.
function magnification(view) {
  const [height, width] = view.size;
  const values = new Float64Array(height * width);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 1) values[at] = magnificationAt(view, y, x);
  }
  return values;
}

// The view that Views.spherical makes of these arguments; a RangeError where it raises a ValueError. Without a
// magnification the scale is fitted.
function sphericalView({ size, viewSize, spacing, center, radius, lift, chart, pose, magnification: wanted }) {
  const middle = size.map((side) => (side - 1) / 2);
  const turned = pose === "turned";
  const view = {
    size,
    viewSize,
    spacing,
    tangent: turned ? middle : center,
    lift: { name: lift, profile: PROFILES[lift], scale: radius },
    chart: { name: chart, profile: PROFILES[chart], scale: 1 },
    pole: viewSize.map((side) => (side - 1) / 2),
    rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  };
  if (turned) view.rotation = rotationToPole(view, center);
  view.chart.scale = wanted ? wanted * radius / Math.min(...spacing) : fittedScale(view);
  return view;
}

// The shortest arc that brings a point of the slice to the pole (Rodrigues' formula).
function rotationToPole(view, [y, x]) {
  const [dy, dx] = [y - view.tangent[0], x - view.tangent[1]].map((offset, axis) => offset * view.spacing[axis]);
  const s = new Float64Array(3);
  if (!planeToSphere(view.lift, dy, dx, s) || s[2] <= -1 + 1e-9) {
    throw new RangeError("The lift does not reach the centre from the middle of the slice: choose a larger radius.");
  }
  const [a, b, pole] = s;
  const part = 1 / (1 + pole);
  return [1 - a * a * part, -a * b * part, -a, -a * b * part, 1 - b * b * part, -b, a, b, 1 - (a * a + b * b) * part];
}

// The largest scale at which the whole slice is inside the view: docs/geometry.md, Fit.
function fittedScale(view) {
  const unit = { ...view, chart: { ...view.chart, scale: 1 }, pole: [0, 0] };
  const reach = [0, 1].map((axis) => Math.max(...borderOf(view).map((curve) => reachOf(unit, curve, axis))));
  const antipode = reachOfAntipode(view);
  const scales = [0, 1].map((axis) => {
    const farthest = Math.max(reach[axis], antipode);
    return farthest > 0 ? (view.viewSize[axis] - 1) / 2 / farthest : Infinity;
  });
  const scale = Math.min(...scales);
  if (scale === 0) throw new RangeError("A view of a single pixel across cannot be fitted: set the magnification.");
  return Number.isFinite(scale) ? scale : view.lift.scale;
}

// Distance of a slice point from the pole along both axes of the view; -Infinity where the lift does not reach it.
function reachAt(unit, y, x) {
  const [dy, dx] = [y - unit.tangent[0], x - unit.tangent[1]].map((offset, axis) => offset * unit.spacing[axis]);
  const s = new Float64Array(3);
  const point = new Float64Array(2);
  if (!insideSlice(unit, y, x) || !planeToSphere(unit.lift, dy, dx, s)) return [-Infinity, -Infinity];
  rotate(unit.rotation, false, s);
  if (!sphereToPlane(unit.chart, s, point)) throw notShown(unit);
  return [Math.abs(point[0]), Math.abs(point[1])];
}

// The largest reach along a curve, sampled, and sampled more densely around the best sample.
function reachOf(unit, curve, axis) {
  let [largest, best, width, samples] = [-Infinity, 0.5, 0.5, 129];
  for (let round = 0; round < 5; round += 1) {
    const from = best;
    for (let sample = 0; sample < samples; sample += 1) {
      const at = Math.min(Math.max(from + width * (2 * sample / (samples - 1) - 1), 0), 1);
      const reach = reachAt(unit, ...curve(at))[axis];
      if (reach > largest) [largest, best] = [reach, at];
    }
    width *= 2 / (samples - 1);
    samples = 17;
  }
  return largest;
}

// What the lift reaches of the four edges of the slice, and the quarters of the rim of its domain, as functions of a
// position from 0 to 1.
function borderOf({ size, tangent, spacing, lift }) {
  const rim = lift.scale * lift.profile.radiusLimit;
  const edges = [0, 1].flatMap((axis) => [0, size[axis] - 1].map((edge) => {
    const half = Math.sqrt(rim ** 2 - ((edge - tangent[axis]) * spacing[axis]) ** 2) / spacing[1 - axis];
    const [start, end] = [-half, half].map((way) => Math.min(Math.max(tangent[1 - axis] + way, 0), size[1 - axis] - 1));
    return (at) => {
      const other = start * (1 - at) + end * at;
      return axis === 0 ? [edge, other] : [other, edge];
    };
  }));
  const quarters = [0, 1, 2, 3].map((quarter) => (at) => {
    const angle = Math.PI / 2 * (quarter + at);
    return [tangent[0] + rim * Math.sin(angle) / spacing[0], tangent[1] + rim * Math.cos(angle) / spacing[1]];
  });
  return Number.isFinite(rim) ? [...edges, ...quarters] : edges;
}

// The reach of the point opposite to the chart's pole, 0 where the slice does not hold it, or where it is no point but
// the rim of the lift's domain: what the slice holds of that is on the border.
function reachOfAntipode(view) {
  const towards = new Float64Array([0, 0, -1]);
  const offset = new Float64Array(2);
  rotate(view.rotation, true, towards);
  if (Math.hypot(towards[0], towards[1]) <= 1e-12 || !sphereToPlane(view.lift, towards, offset)) return 0;
  const [y, x] = view.tangent.map((from, axis) => from + offset[axis] / view.spacing[axis]);
  if (!insideSlice(view, y, x)) return 0;
  const { angleLimit, radiusLimit } = view.chart.profile;
  if (angleLimit < Math.PI || !Number.isFinite(radiusLimit)) throw notShown(view);
  return radiusLimit;
}

function insideSlice({ size }, y, x) {
  return y >= 0 && y <= size[0] - 1 && x >= 0 && x <= size[1] - 1;
}

function notShown({ chart }) {
  const degrees = Math.round(chart.profile.angleLimit * 180 / Math.PI);
  return new RangeError(
    `The chart ${chart.name} ends ${degrees} degrees from its pole and cannot show the whole slice: choose equidistant `
    + "or equal_area, a larger radius, or set the magnification.",
  );
}
