"""The version of the package, which its distribution takes from here."""

VERSION = "0.1.0"
