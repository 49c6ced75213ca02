"""What mails say: the wording that comes with Keystead, and what a brand puts in its place."""
