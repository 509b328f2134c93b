"""The azimuthal projections between plane and sphere, one record each.

Equations: Snyder, *Map Projections: A Working Manual*, USGS Professional Paper 1395 (1987); ``docs/geometry.md``.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from spuproj.checks import choice

ANGLE_TOLERANCE = 1e-12
"""A polar angle this close to the end of a closed domain counts as inside, in radians."""

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Profile:
    """One azimuthal projection: the plane distance L(theta) at polar angle theta, with L(0) = 0 and L'(0) = 1.

    Attributes:
        radius: L(theta).
        angle: theta with L(theta) = s, for s in [0, ``radius_limit``].
        area_factor: plane area per sphere area at theta, L'(theta) L(theta) / sin(theta).
        angle_limit: end of the domain of theta, in radians; the domain includes it if L is finite there.
        radius_limit: L at this end.
    """

    radius: Function
    angle: Function
    area_factor: Function
    angle_limit: float
    radius_limit: float

    @property
    def closed(self) -> bool:
        """Whether the end of the domain belongs to it."""
        return math.isfinite(self.radius_limit)


PROFILES = {
    "gnomonic": Profile(torch.tan, torch.atan, lambda theta: torch.cos(theta) ** -3, math.pi / 2, math.inf),
    "stereographic": Profile(
        lambda theta: 2 * torch.tan(theta / 2),
        lambda s: 2 * torch.atan(s / 2),
        lambda theta: torch.cos(theta / 2) ** -4,
        math.pi,
        math.inf,
    ),
    "equidistant": Profile(
        lambda theta: theta, lambda s: s, lambda theta: 1 / torch.sinc(theta / math.pi), math.pi, math.pi
    ),
    "equal_area": Profile(
        lambda theta: 2 * torch.sin(theta / 2), lambda s: 2 * torch.asin(s / 2), torch.ones_like, math.pi, 2.0
    ),
    "orthographic": Profile(torch.sin, torch.asin, torch.cos, math.pi / 2, 1.0),
}
"""The profiles by name; the position of a profile is its code in a geometry table."""


def profile_code(name: str, argument: str) -> int:
    """Code of a profile. Raises ValueError that names ``argument`` if the profile is unknown."""
    return list(PROFILES).index(choice(name, tuple(PROFILES), argument))


def check_codes(codes: Tensor, argument: str) -> None:
    """Raises ValueError that names ``argument`` if a code belongs to no profile."""
    known = torch.isin(codes, torch.arange(len(PROFILES), dtype=codes.dtype, device=codes.device))
    if not bool(known.all()):
        raise ValueError(f"{argument} must be a code from 0 to {len(PROFILES) - 1}, got {codes[~known][0].item():g}")


def profile_radius(code: Tensor, theta: Tensor) -> Tensor:
    """L(theta) of each code's profile, for theta in [0, pi]; NaN beyond its domain."""

    def within(profile: Profile) -> Tensor:
        limit = profile.angle_limit
        inside = theta <= limit + ANGLE_TOLERANCE if profile.closed else theta < limit
        return torch.where(inside, profile.radius(theta), math.nan)

    return _by_profile(code, within)


def polar_angle(code: Tensor, s: Tensor, tolerance: Tensor) -> Tensor:
    """theta with L(theta) = s, for s >= 0; NaN where s exceeds the profile's limit by more than ``tolerance``."""

    def within(profile: Profile) -> Tensor:
        inside = (s <= profile.radius_limit + tolerance) & torch.isfinite(s)
        # On the rim the slope of an inverse may be infinite; the angle is constant there.
        before = s < profile.radius_limit
        angle = torch.where(before, profile.angle(torch.where(before, s, 0.0)), profile.angle_limit)
        return torch.where(inside, angle, math.nan)

    return _by_profile(code, within)


def radius_limit(code: Tensor) -> Tensor:
    """Largest L(theta) of each code's profile."""
    return _by_profile(code, lambda profile: torch.full_like(code, profile.radius_limit, dtype=torch.float64))


def area_factor(code: Tensor, theta: Tensor) -> Tensor:
    """Plane area per sphere area at theta, in units of the scale squared."""
    return _by_profile(code, lambda profile: profile.area_factor(theta))


def _by_profile(code: Tensor, values: Callable[[Profile], Tensor]) -> Tensor:
    """Values from the profile of each code; NaN for unknown codes."""
    result = torch.full_like(code, math.nan, dtype=torch.float64)
    for index, profile in _present(code):
        result = torch.where(code == index, values(profile), result)
    return result


def _present(code: Tensor) -> Iterator[tuple[int, Profile]]:
    """The profiles that occur, with their codes; all profiles if the codes are on a device, or have no values (traced).

    Up to torch 2.11, ``is_compiling`` is false while a backward pass is traced; its tensors are of a subclass.
    """
    readable = type(code) is Tensor and code.device.type == "cpu" and not torch.compiler.is_compiling()
    occurring = set(code.flatten().tolist()) if readable else set(range(len(PROFILES)))
    return ((index, profile) for index, profile in enumerate(PROFILES.values()) if index in occurring)
