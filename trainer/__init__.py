"""Fitting EfficientNetB3 to transformed CT slices and exporting it for serving."""
