"""Collections of images as lists of records: folders, COCO, Hugging Face; and how to split them."""
