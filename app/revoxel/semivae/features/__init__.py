"""What a tumour's label map says in numbers: volume, place, shape; tables and normalisation of them."""
