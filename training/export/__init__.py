"""Finished predictions and models in the formats of others: DICOM, BIDS, the Hugging Face Hub."""
