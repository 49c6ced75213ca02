"""Hosted pages behind the links in mails: server-rendered, without scripts, in the brand's name. Security §10, §13.

GET shows what a link would do and consumes nothing; POST of the page's form carries it out.
"""
