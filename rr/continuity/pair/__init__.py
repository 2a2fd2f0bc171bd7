"""The pair: two appliances, both active, that watch each other, compare what they enforce, and lend routes."""
