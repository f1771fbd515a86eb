"""SemiVAE: tumour features from label maps, and growth forecasts that are judged against simple ones."""
