"""Facts about photos: EXIF, tables beside the photos, the store that keeps them, and conditions on them."""
