"""Claims: addresses that wait for proof, with the password that comes with them. Security §13."""
