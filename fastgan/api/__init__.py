"""fastgan from Python: an estimator in scikit-learn's conventions."""
