"""Mail: an outbox row written in the transaction that causes it, delivered after the commit. Security §8, §13."""
