"""A campaign of trainings: one gate per spacing, pulse and fold, each through its own bundle.

Every model is one run of its bundle's `train.json` and one of its `evaluate.json`, as MONAI's own line does.
What is finished is left alone, what was interrupted goes on, what fails does not stop the rest.
"""
