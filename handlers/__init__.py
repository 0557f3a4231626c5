"""What the node answers on each DICOM event: one module per service, translating and nothing else."""
