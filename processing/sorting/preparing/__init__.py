"""What is done to a recording before it is sorted: channels, drift, registration, whitening."""
