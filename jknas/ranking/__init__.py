"""Compare scores with trained accuracies: metrics, aggregates of several scores, tables of correlations."""
