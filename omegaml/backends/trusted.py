"""The reviewed list: what a model of unknown origin may be made of.

A skops file names the types and functions it is made of, and skops loads one only where all are trusted. By
itself skops trusts scikit-learn's public estimators, the loss functions, numpy's arrays, number types and
ufuncs, and scipy.special's. This list adds what fitted estimators hold besides.

A name is on it only if, whatever the file says, making the object and setting its state runs no code that the
file chooses, opens no file and imports nothing, and calling it does neither. It counts for one way of being
loaded (`loader`), so that the name of a function is never taken for a class to be made. What compiled code
would follow blindly, as the numbers of a tree's nodes, `omegaml.backends.contents` checks after loading.

Kept off, however handy: functools.partial, operator.methodcaller and bound methods (they call what the file
names), sklearn.metrics.make_scorer and other functions that take functions, RepeatedKFold (it calls a class
that it is given), numpy functions that read or write files or take Python code (load, save, fromfile,
vectorize, apply_along_axis), classes of other libraries, whose state nobody here has reviewed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Some names that are trusted for the same reason.

    Attributes:
        why: what makes them harmless.
        loader: how the file has to say that they are loaded, in skops' words.
        names: as the file writes them, with their modules.
    """

    why: str
    loader: str
    names: tuple[str, ...]


def _in(module: str, names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names.split())


GROUPS = (
    Group(
        "the nodes of decision trees: numbers, whose ranges are checked after loading",
        "TreeNode",
        _in("sklearn.tree._tree", "Tree"),
    ),
    Group(
        "trees of histogram gradient boosting and of nearest neighbours: the same, checked after loading",
        "ObjectNode",
        (
            *_in("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"),
            *_in("sklearn.neighbors._kd_tree", "KDTree"),
            *_in("sklearn.neighbors._ball_tree", "BallTree"),
        ),
    ),
    Group(
        "distances that are formulas; the one that calls a Python function is not among them",
        "ObjectNode",
        _in(
            "sklearn.metrics._dist_metrics",
            "EuclideanDistance64 ManhattanDistance64 ChebyshevDistance64 MinkowskiDistance64",
        ),
    ),
    Group(
        "private parts of estimators: a dict of numbers, arrays and estimators; their methods are formulas",
        "ObjectNode",
        (
            *_in("sklearn.calibration", "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling"),
            *_in("sklearn.cluster._bisect_k_means", "_BisectingTree"),
            *_in("sklearn.gaussian_process._gpc", "_BinaryGaussianProcessClassifierLaplace"),
            *_in("sklearn.multiclass", "_ConstantPredictor"),
            *_in("sklearn.neural_network._stochastic_optimizers", "AdamOptimizer SGDOptimizer"),
            *_in("sklearn._loss.loss", "HalfTweedieLoss HalfTweedieLossIdentity"),
        ),
    ),
    Group(
        "kernels of Gaussian processes: a few numbers and other kernels",
        "ObjectNode",
        _in(
            "sklearn.gaussian_process.kernels",
            "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern Product RBF "
            "RationalQuadratic Sum WhiteKernel",
        ),
    ),
    Group(
        "splits for cross-validation: a few numbers; used when a search is fitted again",
        "ObjectNode",
        _in(
            "sklearn.model_selection._split",
            "GroupKFold GroupShuffleSplit KFold LeaveOneOut LeavePOut PredefinedSplit ShuffleSplit "
            "StratifiedGroupKFold StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit",
        ),
    ),
    Group(
        "scorers: they hold one of the functions below or an estimator, and call its usual methods",
        "ObjectNode",
        (
            *_in("sklearn.metrics._scorer", "_CurveScorer _PassthroughScorer _Scorer"),
            *_in("sklearn.utils._metadata_requests", "MetadataRequest MethodMetadataRequest"),
        ),
    ),
    Group(
        "scores: formulas on two arrays, which call nothing that they are given",
        "FunctionNode",
        (
            *_in(
                "sklearn.metrics._classification",
                "accuracy_score balanced_accuracy_score cohen_kappa_score f1_score fbeta_score hamming_loss "
                "jaccard_score log_loss matthews_corrcoef precision_score recall_score zero_one_loss",
            ),
            *_in("sklearn.metrics._ranking", "average_precision_score roc_auc_score"),
            *_in(
                "sklearn.metrics._regression",
                "explained_variance_score max_error mean_absolute_error mean_absolute_percentage_error "
                "mean_squared_error mean_squared_log_error median_absolute_error r2_score "
                "root_mean_squared_error",
            ),
            *_in(
                "sklearn.feature_selection._univariate_selection", "chi2 f_classif f_regression r_regression"
            ),
            *_in("sklearn.feature_selection._mutual_info", "mutual_info_classif mutual_info_regression"),
        ),
    ),
    Group(
        "functions on arrays: they take no function and no file name",
        "FunctionNode",
        (
            *_in("numpy", "clip max mean median min nan_to_num sum"),
            *_in("scipy._lib.array_api_compat.numpy._aliases", "asarray"),
        ),
    ),
    Group(
        "the step of k-means that bisecting uses: a formula on arrays",
        "FunctionNode",
        _in("sklearn.cluster._kmeans", "_kmeans_single_elkan _kmeans_single_lloyd"),
    ),
    Group(
        "splines: three arrays, which their own class checks again after loading",
        "ObjectNode",
        _in("scipy.interpolate._bsplines", "BSpline"),
    ),
    Group(
        "the type of an array's items, read with numpy's own format, without pickle",
        "DTypeNode",
        ("numpy.dtype",),
    ),
    Group(
        "sparse matrices, read with allow_pickle=False; their indices are checked after loading",
        "SparseMatrixNode",
        (
            *_in("scipy.sparse._csr", "csr_array csr_matrix"),
            *_in("scipy.sparse._csc", "csc_array csc_matrix"),
            *_in("scipy.sparse._coo", "coo_array coo_matrix"),
        ),
    ),
    Group("a dict whose items are attributes, too", "DictNode", _in("sklearn.utils._bunch", "Bunch")),
)

#: Each name and how it is loaded.
TRUSTED = {name: group.loader for group in GROUPS for name in group.names}

#: How anything may be loaded at all. Not among them: MethodNode, PartialNode, OperatorFuncNode and
#: ConstructorFromReduceNode, which call what the file names, and loaders of later versions of skops.
LOADERS = frozenset(
    {group.loader for group in GROUPS}
    | {
        "BytesNode",
        "JsonNode",
        "ListNode",
        "LossNode",
        "MaskedArrayNode",
        "NdArrayNode",
        "RandomGeneratorNode",
    }
    | {"RandomStateNode", "SetNode", "SliceNode", "TupleNode", "TypeNode"}
)
