"""Functions of known form, and rows of scores, for the tests of FIND."""

import numpy as np

from winnow.randomness import numpy_generator
from winnow.workloads.find_functions import numeric_record

X = np.sort(numpy_generator(0, "inputs").uniform(-128, 128, 64))


TREES = [
    ["constant", 5.0],
    ["linear", 2.5, -7.0],
    ["polynomial", 1.0, 2.0, -0.5, 0.3],
    ["absolute", 3.0, -12.3, 4.0],
    ["root", 3.0, -12.3, 4.0],
    ["logarithm", 3.0, -12.3, 4.0],
    ["step", 3.0, 10.0, 4.0],
    ["relu", 3.0, 0.4, -12.3, 4.0],
    ["tanh", 10.0, 0.2, 5.0, 4.0],
    ["sin", 10.0, 0.7, 1.0, 4.0],
    ["reciprocal", 5.0, 3.3, 4.0],
    ["gaussian", 20.0, 11.0, 9.0, 4.0],
    ["rectangle", 9.0, -30.0, 25.0, 4.0],
    ["square_wave", 9.0, 40.0, 12.0, 4.0],
]


def record_of(tree, complication="clean", seed=0):
    return numeric_record("one", tree, complication, numpy_generator(seed, "record"))


def row(interpreter, success, **more):
    plain = {"kind": "numeric", "budget": 64, "twin_of": "", "complication": "clean", "composed": False, "reason": ""}
    return plain | {"interpreter": interpreter, "success": success, "function_id": "a"} | more
