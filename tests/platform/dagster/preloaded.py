"""Stands for the module with the definitions."""

import os

IMPORTED_BY = os.getpid()
