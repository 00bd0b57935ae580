"""What several proxies read their scores from; each module has the measurement of one family."""
