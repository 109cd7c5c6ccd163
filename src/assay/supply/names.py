"""The names that real models reach, library by library, with the uses that a pickle makes of each.

Taken from pickles, in all protocols, of every estimator of scikit-learn and of the models of the
boosting libraries, fitted.  The test that fits them all again fails when a name is missing here.
Added by hand from the libraries' sources: further losses, distances, scoring functions, numpy
functions and sparse matrices of the same kinds.  The versions are those whose sources were read.
`assay.supply.allowed` says what the letters mean and why each kind of name is harmless; a name
without a slash is one that is constructed.
"""

from __future__ import annotations

from typing import NamedTuple


class Table(NamedTuple):
    """The names of one library, and the versions in which they were looked at."""

    library: str
    versions: str
    names: str


PYTHON = Table(
    "CPython",
    "3.11 to 3.14",
    """
_codecs : encode/c
builtins : bool/v bytearray/c bytes/c complex/c dict/cdv float/v frozenset/c int/v len/c list/v
    object/v range/c set/cv slice/c str/v tuple/v
collections : Counter/cd OrderedDict/cdv defaultdict/cd deque/cl
copyreg : _reconstructor/c
datetime : date/c datetime/c time/c timedelta/c timezone/c
decimal : Decimal/c
uuid : UUID
""",
)

NUMPY = Table(
    "numpy",
    "2.4",
    """
numpy : abs/v absolute/v amax/v amin/v arcsinh/v arctan/v bool/v bool_/v bytes_/v cbrt/v
    complex128/v complex64/v cos/v datetime64/v dtype/cs exp/v exp2/v expm1/v float16/v
    float32/v float64/v int16/v int32/v int64/v int8/v log/v log10/v log1p/v log2/v longdouble/v
    matrix/v max/v mean/v median/v min/v nan_to_num/v ndarray/v object_/v sign/v sin/v sinh/v
    sqrt/v square/v str_/v sum/v tanh/v timedelta64/v uint16/v uint32/v uint64/v uint8/v
numpy._core.multiarray : _reconstruct/cs scalar/c
numpy._core.numeric : _frombuffer/c
numpy.ma : MaskedArray/
numpy.ma.core : _mareconstruct/cs
numpy.random._generator : Generator/
numpy.random._mt19937 : MT19937/
numpy.random._pcg64 : PCG64/ PCG64DXSM/
numpy.random._philox : Philox/
numpy.random._pickle : __bit_generator_ctor/cs __generator_ctor/c __randomstate_ctor/c
numpy.random._sfc64 : SFC64/
numpy.random.bit_generator : SeedSequence/ __pyx_unpickle_SeedSequence/cs
numpy.random.mtrand : RandomState/
""",
)

SCIPY = Table(
    "scipy",
    "1.17",
    """
scipy._lib.array_api_compat.numpy._aliases : asarray/v
scipy.interpolate._bsplines : BSpline
scipy.sparse._bsr : bsr_array bsr_matrix
scipy.sparse._coo : coo_array coo_matrix
scipy.sparse._csc : csc_array csc_matrix
scipy.sparse._csr : csr_array csr_matrix
scipy.sparse._dia : dia_array dia_matrix
scipy.sparse._dok : dok_array dok_matrix
scipy.sparse._lil : lil_array lil_matrix
scipy.special._special_ufuncs : expit/v logit/v
scipy.special._ufuncs : expit/v logit/v
""",
)

JOBLIB = Table(
    "joblib",
    "1.6",
    """
joblib.numpy_pickle : NumpyArrayWrapper
""",
)

XGBOOST = Table(
    "xgboost",
    "3.2",
    """
xgboost.core : Booster
xgboost.sklearn : XGBClassifier XGBModel XGBRFClassifier XGBRFRegressor XGBRanker XGBRegressor
""",
)

LIGHTGBM = Table(
    "lightgbm",
    "4.7",
    """
lightgbm.basic : Booster
lightgbm.sklearn : LGBMClassifier LGBMModel LGBMRanker LGBMRegressor
""",
)

CATBOOST = Table(
    "catboost",
    "1.2",
    """
catboost.core : CatBoost CatBoostClassifier CatBoostRanker CatBoostRegressor
""",
)
