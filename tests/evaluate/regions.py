"""What holds for the labels of any segmentation."""

import numpy as np
from scipy import ndimage


def assert_regions(labels, shape):
    assert labels.dtype == np.int32 and labels.shape == shape
    count = labels.max() + 1
    _, first = np.unique(labels, return_index=True)
    assert len(first) == count and (np.diff(first) > 0).all()  # 0 to k - 1, in the order of the pixels
    for label in range(count):
        assert ndimage.label(labels == label)[1] == 1
