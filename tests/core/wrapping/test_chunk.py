"""How many images an amount of memory is, in a pass of the network."""

import pytest
import torch

from spuproj.wrapping.chunk import images_per_pass

KIBIBYTE = torch.empty(5, 1, 16, 16, device="meta")
MEBIBYTE = torch.empty(5, 4, 256, 256, device="meta")


@pytest.mark.parametrize(
    ("chunk", "images", "number"),
    [
        ("1 KiB", KIBIBYTE, 1),
        ("2.9KiB", KIBIBYTE, 2),
        ("1 MiB", KIBIBYTE, 1024),
        ("1 GiB", MEBIBYTE, 1024),
        ("1 MiB", MEBIBYTE.half(), 2),
        ("0.5 MiB", MEBIBYTE, 1),
        (3, MEBIBYTE, 3),
    ],
)
def test_a_chunk_is_as_many_images_as_its_memory_holds_and_at_least_one(chunk, images, number):
    assert images_per_pass(chunk, images) == number
