"""Results to DICOM: pure builders, data sets in and data sets out."""
