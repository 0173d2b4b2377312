"""What was recorded beside spikes: LFP, running, pupil and gaze, light, and trials cut out of them."""
