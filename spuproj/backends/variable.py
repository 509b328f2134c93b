"""The environment variable that names the backend to use in place of the fastest one."""

VARIABLE = "SPUPROJ_BACKEND"
