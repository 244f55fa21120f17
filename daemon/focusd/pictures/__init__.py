"""Pictures as files and as samples: decoding, encoding, colour profiles and EXIF."""
