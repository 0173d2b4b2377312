"""Which units there are: tables of units, channels and probes, and the filter that shows some of them."""
