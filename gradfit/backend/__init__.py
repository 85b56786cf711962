"""TensorFlow itself: how it is imported, differentiated, compiled and placed."""
