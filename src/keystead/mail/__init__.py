"""Mail: a row written with the change that causes it, delivered after the commit. Security §8, §13."""
