"""What a model of unknown origin holds, checked before it is given out.

Compiled code of scikit-learn follows numbers in a model without looking: a node that points outside its
tree, or a tree for more columns than the model asks for, would read memory that is not its own. All that is
known to do so is checked here. Types that are on no list are no concern of this module: none has been made.
Source: why skops trusts no tree by itself, https://github.com/scikit-learn/scikit-learn/pull/34558
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaml.errors import Corrupt


def check(model: Any) -> None:
    """Raise Corrupt, naming the class, if a part of the model is not what it has to be."""
    for part in _parts(model):
        try:
            is_sound = all(rule(part) for cls, rule in _RULES if cls in _names(type(part)))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError):
            is_sound = False  # something that the rules look at is missing, or is no number or array
        if not is_sound:
            raise Corrupt(
                f"the model holds a {type(part).__name__} that is not in order",
                hint="ask for a file that skops.io.dump has written",
            )


def _parts(model: Any) -> Iterator[Any]:
    """Yield the model and everything it holds, each once."""
    import numpy as np

    waiting, seen = [model], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, str | bytes | int | float | type | None):
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, dict):
            waiting.extend([*part.keys(), *part.values()])
        elif isinstance(part, list | tuple | set):
            waiting.extend(part)
        elif isinstance(part, np.ndarray):
            waiting.extend(part.ravel().tolist() if part.dtype.hasobject else ())
        elif isinstance(state := getattr(part, "__dict__", None), dict):
            waiting.extend(state.values())


def _names(cls: type) -> set[str]:
    return {base.__name__ for base in cls.__mro__}


def _estimator(model: Any) -> bool:
    """An estimator calls its class's methods, keeps no cache in a folder, and knows how wide its data is."""
    state = vars(model)
    if any(callable(getattr(type(model), name, None)) for name in state) or state.get("memory") is not None:
        return False
    centers = state.get("cluster_centers_")
    if centers is not None and hasattr(model, "_n_threads"):
        return centers.ndim == 2 and centers.shape[1] == _width(model)
    return True


def _width(model: Any) -> int:
    n = vars(model)["n_features_in_"]
    if type(n) is not int or n < 1:
        raise ValueError(n)
    return n


def _tree(tree: Any) -> bool:
    if tree.node_count < 1:
        return False
    nodes = tree.__getstate__()["nodes"]
    left, right, feature = nodes["left_child"], nodes["right_child"], nodes["feature"]
    inner = left != -1
    return (
        _points_down(left, right, inner, end=-1)
        and (right[~inner] == -1).all()
        and ((feature[inner] >= 0) & (feature[inner] < tree.n_features)).all()
    )


def _points_down(left: Any, right: Any, inner: Any, end: int | None = None) -> bool:
    """Whether each inner node points at later ones, so that the way down comes to an end."""
    import numpy as np

    count = len(left)
    here = np.arange(count)[inner]
    down = [(child[inner] > here) & (child[inner] < count) for child in (left, right)]
    return count > 0 and all(fits.all() for fits in down)


def _tree_model(model: Any) -> bool:
    tree = vars(model).get("tree_")
    return tree is None or (type(tree).__name__ == "Tree" and tree.n_features == _width(model))


def _forest(model: Any) -> bool:
    """A forest, and boosting, ask their trees without looking at the data again."""
    import numpy as np

    trees = vars(model).get("estimators_")
    if trees is None:
        return True
    trees = np.asarray(trees, dtype=object).ravel().tolist()
    columns = vars(model).get("estimators_features_")
    widths = [_width(model)] * len(trees) if columns is None else [len(chosen) for chosen in columns]
    return len(trees) == len(widths) and all(
        _is_tree(tree) and tree.tree_.n_features == width for tree, width in zip(trees, widths, strict=True)
    )


def _is_tree(model: Any) -> bool:
    return "BaseDecisionTree" in _names(type(model)) and "tree_" in vars(model)


def _boosting(model: Any) -> bool:
    """The trees of a round write into as many columns as the loss has."""
    state = vars(model)
    if "estimators_" not in state:
        return True
    loss = state["_loss"]
    columns = loss.n_classes if loss.is_multiclass else 1
    trees = state["estimators_"]
    values = (tree.tree_.value for tree in trees.ravel().tolist())
    start = (
        vars(state["init_"]).get("class_prior_") if loss.is_multiclass and state["init_"] != "zero" else None
    )
    return (
        trees.ndim == 2
        and trees.shape[1] == columns == state.get("n_trees_per_iteration_", columns)
        and all(value.shape[1:] == (1, 1) for value in values)
        and (start is None or len(start) == columns)
    )


def _predictor(tree: Any) -> bool:
    nodes = tree.nodes
    inner = nodes["is_leaf"] == 0
    categories = nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)]
    sets = min(len(tree.raw_left_cat_bitsets), len(tree.binned_left_cat_bitsets))
    return _points_down(nodes["left"], nodes["right"], inner) and bool((categories < sets).all())


def _histogram_boosting(model: Any) -> bool:
    import numpy as np

    rounds = vars(model).get("_predictors")
    if rounds is None:
        return True
    bins = model._bin_mapper
    is_categorical = np.asarray(bins.is_categorical_, dtype=bool)
    if is_categorical.shape != (_width(model),):
        return False
    for tree in (tree for trees in rounds for tree in trees):
        if type(tree).__name__ != "TreePredictor":
            return False
        inner = tree.nodes[tree.nodes["is_leaf"] == 0]
        feature = inner["feature_idx"]
        if ((feature < 0) | (feature >= len(is_categorical))).any():
            return False
        if not is_categorical[feature[inner["is_categorical"] != 0]].all():
            return False
    return True


def _search_tree(tree: Any) -> bool:
    """The tree of a nearest neighbours search: rows by number, and ranges of those in its nodes."""
    data, rows, nodes, bounds, _, levels, count, *_ = state = tree.__getstate__()
    distance, weights = state[-2:]
    inner = nodes["is_leaf"] == 0
    start, end = nodes["idx_start"], nodes["idx_end"]
    return (
        data.ndim == 2
        and rows.shape == (len(data),)
        and ((rows >= 0) & (rows < len(data))).all()
        and 0 < count == len(nodes) == 2**levels - 1
        and bounds.shape[0] == (2 if type(tree).__name__ == "KDTree" else 1)
        and bounds.shape[1:] == (count, data.shape[1])
        and ((start >= 0) & (start <= end) & (end <= len(data))).all()
        and not inner[count // 2 :].any()
        and distance.__getstate__()[1].size in (0, 1)
        and (weights is None or weights.shape == (len(data),))
    )


def _support_vectors(model: Any) -> bool:
    state = vars(model)
    if "support_vectors_" not in state:
        return True
    counts, rows, vectors = state["_n_support"], state["support_"], state["support_vectors_"]
    classifies = model._impl in ("c_svc", "nu_svc")
    number = len(counts)
    pairs = number * (number - 1) // 2
    count = int(counts.sum()) if classifies else int(counts[0])
    chances = {len(state[name]) for name in ("_probA", "_probB") if name in state}
    weights, is_sparse = state["_dual_coef_"], hasattr(vectors, "indptr")
    width = (number - 1 if classifies else 1) * count
    shape = (0, 0) if model.kernel == "precomputed" else (count, _width(model))
    return (
        bool((counts >= 0).all())
        and number >= 2
        and rows.shape == (count,)
        and bool(((rows >= 0) & (rows < state["shape_fit_"][0])).all())
        and vectors.shape == shape
        and weights.shape == (number - 1 if classifies else 1, count)
        and state["_sparse"] is is_sparse is hasattr(weights, "indptr")
        and (not is_sparse or weights.data.shape == (width,))
        and state["_intercept_"].shape == (pairs if classifies else 1,)
        and chances in (set(), {0}, {pairs})
    )


def _sparse(matrix: Any) -> bool:
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)
        return True
    rows, columns = matrix.shape
    return all(
        len(at) == len(matrix.data) and ((at >= 0) & (at < size)).all()
        for at, size in ((matrix.row, rows), (matrix.col, columns))
    )


def _spline(spline: Any) -> bool:
    again = type(spline)(spline.t, spline.c, spline.k, spline.extrapolate, spline.axis)
    return vars(again).keys() == vars(spline).keys()


def _mapping(bunch: Mapping[str, Any]) -> bool:
    return all(isinstance(key, str) for key in bunch)


#: What is asked of an object whose class, or one that it is derived from, has the name.
_RULES = (
    ("BaseEstimator", _estimator),
    ("BaseDecisionTree", _tree_model),
    ("BaseForest", _forest),
    ("IsolationForest", _forest),
    ("BaseGradientBoosting", _forest),
    ("BaseGradientBoosting", _boosting),
    ("BaseHistGradientBoosting", _histogram_boosting),
    ("BaseLibSVM", _support_vectors),
    ("Tree", _tree),
    ("TreePredictor", _predictor),
    ("KDTree", _search_tree),
    ("BallTree", _search_tree),
    ("csr_matrix", _sparse),
    ("csr_array", _sparse),
    ("csc_matrix", _sparse),
    ("csc_array", _sparse),
    ("coo_matrix", _sparse),
    ("coo_array", _sparse),
    ("BSpline", _spline),
    ("Bunch", _mapping),
)
