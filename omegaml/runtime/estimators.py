"""Models made by name: estimators of scikit-learn that are known to run nothing but their own code."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from omegaml.errors import InvalidInput
from omegaml.runtime.base import Task

if TYPE_CHECKING:
    from omegaml.omega import Omega

_MODULES = {
    "linear_model": (
        *("LinearRegression", "Ridge", "Lasso", "ElasticNet", "LogisticRegression", "Perceptron"),
        *("SGDClassifier", "SGDRegressor", "BayesianRidge", "HuberRegressor", "PoissonRegressor"),
    ),
    "ensemble": (
        *("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"),
        *("GradientBoostingClassifier", "GradientBoostingRegressor", "IsolationForest"),
        *("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
    ),
    "tree": ("DecisionTreeClassifier", "DecisionTreeRegressor"),
    "neighbors": ("KNeighborsClassifier", "KNeighborsRegressor", "NearestNeighbors"),
    "svm": ("SVC", "SVR", "LinearSVC", "LinearSVR"),
    "naive_bayes": ("GaussianNB", "MultinomialNB", "BernoulliNB"),
    "neural_network": ("MLPClassifier", "MLPRegressor"),
    "cluster": ("KMeans", "MiniBatchKMeans", "DBSCAN"),
    "decomposition": ("PCA", "TruncatedSVD", "NMF"),
    "impute": ("SimpleImputer",),
    "preprocessing": (
        *("StandardScaler", "MinMaxScaler", "RobustScaler", "Normalizer", "OneHotEncoder", "OrdinalEncoder"),
        *("PolynomialFeatures", "KBinsDiscretizer"),
    ),
}
#: Name -> module below `sklearn`.
ESTIMATORS = {name: module for module, names in _MODULES.items() for name in names}


def check_pipeline(pipeline: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the steps of `[[name, {parameter: value}], ...]`. Raises InvalidInput."""
    if not isinstance(pipeline, list) or not pipeline:
        raise InvalidInput("a pipeline is a list of steps", hint='[["LinearRegression", {}]]')
    steps = []
    for step in pipeline:
        name, parameters = step if isinstance(step, list) and len(step) == 2 else (step, {})
        if not isinstance(name, str) or name not in ESTIMATORS:
            hint = f"one of {', '.join(sorted(ESTIMATORS))}; or PUT the file of a model that you have made"
            raise InvalidInput(f"{name!r} is no estimator that can be made by name", hint=hint)
        if not isinstance(parameters, Mapping):
            raise InvalidInput(f"the parameters of {name} are no object", hint='as in {"alpha": 0.5}')
        steps.append((name, {str(key): value for key, value in parameters.items()}))
    return steps


def create(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Make a model of one or more estimators and store it, not fitted, under a name that is free.

    Raises: InvalidInput (an estimator or parameter that there is not), Conflict (the name is taken).
    """
    made = [_made(name, parameters) for name, parameters in check_pipeline(params.get("pipeline"))]
    if len(made) > 1:
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(*made)
    else:
        model = made[0]
    meta = om.models.put(model, task.name, replace=False)
    return {"model": task.name, "version": meta.version, "kind": meta.kind}


def _made(name: str, parameters: dict[str, Any]) -> Any:
    estimator = getattr(import_module(f"sklearn.{ESTIMATORS[name]}"), name)
    try:
        return estimator(**parameters)
    except TypeError as error:
        raise InvalidInput(f"{name} is not made so: {str(error).partition('() ')[2] or error}") from error
