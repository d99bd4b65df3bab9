"""For `python setup.py sdist`, which Beam's --setup_file runs; pyproject.toml says everything."""

from setuptools import setup

setup()
