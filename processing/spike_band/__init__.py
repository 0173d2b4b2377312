"""The spike band (AP band): channel offsets and masks, median subtraction, high-pass filter and whitening."""
