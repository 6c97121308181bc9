"""A renderer for each format; each takes any table. That of HTML is a template of ``page``."""
