"""The MONAI Label application: SAGNEF for 3D Slicer, OHIF and every other client of the server."""
