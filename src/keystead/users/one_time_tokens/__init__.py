"""One-time tokens: what the links in mails carry. Security §13."""
