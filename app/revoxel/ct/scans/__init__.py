"""CT scans in and out: NIfTI, MetaImage, NRRD or DICOM to HU on a known grid, study files, DICOM series."""
