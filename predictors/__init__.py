"""Latency predictors: traces, features, training, MLflow, split planning, and predictor packages.

Reading a package and predicting need the core install alone: only `tracking*` and `registry` import
mlflow, only the plots matplotlib, only `signing` cryptography.
"""
