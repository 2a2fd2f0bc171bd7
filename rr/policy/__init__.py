"""The rules: what a node may announce and where its routes go, as plain data and as a verdict on one announcement."""
