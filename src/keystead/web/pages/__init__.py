"""The pages behind the links in mails: rendered here, without a script, in the brand's name. Security §10, §13.

Opening a link shows what it would do and consumes nothing; only the form on the page does.
"""
