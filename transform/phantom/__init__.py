"""Synthetic chest CT: axial slices in Hounsfield units with a known mask of every opacity."""

from transform.phantom.cohort import write_cohort
from transform.phantom.patient import Patient, draw_patient
from transform.phantom.render import RenderedSlice, render_slice

__all__ = ["Patient", "RenderedSlice", "draw_patient", "render_slice", "write_cohort"]
