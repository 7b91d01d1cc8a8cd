"""Whole tasks a second, ours and others: the table and the picture that open the documentation's page."""
