"""Requests for mailed links, as they are kept between the answer to the caller and the decision of the mail worker."""
