-- The URL as it is given, again and again.
require "report"
