"""The names that files of PyTorch reach: see `assay.supply.names`.

State dicts reach the storages, types and ``_rebuild`` functions; the modules are for files that
hold whole networks of PyTorch's own layers.  Their ``__setstate__`` were read: they fill in
attributes that older versions lacked.
"""

from __future__ import annotations

from assay.supply.names import Table

TORCH = Table(
    "PyTorch",
    "2.14",
    """
torch : BFloat16Storage/ BoolStorage/ ByteStorage/ CharStorage/ ComplexDoubleStorage/
    ComplexFloatStorage/ DoubleStorage/ FloatStorage/ HalfStorage/ IntStorage/ LongStorage/
    QInt32Storage/ QInt8Storage/ QUInt8Storage/ ShortStorage/ Size/c bfloat16/v bool/v
    complex128/v complex32/v complex64/v device/c float16/v float32/v float64/v float8_e4m3fn/v
    float8_e4m3fnuz/v float8_e5m2/v float8_e5m2fnuz/v float8_e8m0fnu/v int16/v int32/v int64/v
    int8/v per_tensor_affine/ qint32/v qint8/v quint8/v uint16/v uint32/v uint64/v uint8/v
torch._C._nn : gelu/v
torch._utils : _rebuild_meta_tensor_no_storage/c _rebuild_parameter/c
    _rebuild_parameter_with_state/c _rebuild_qtensor/c _rebuild_sparse_tensor/c
    _rebuild_tensor/c _rebuild_tensor_v2/c _rebuild_tensor_v3/c
torch.nn.functional : gelu/v relu/v
torch.nn.modules.activation : CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh
    LeakyReLU LogSigmoid LogSoftmax Mish MultiheadAttention PReLU RReLU ReLU ReLU6 SELU SiLU
    Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign Tanh Tanhshrink Threshold
torch.nn.modules.adaptive : AdaptiveLogSoftmaxWithLoss
torch.nn.modules.batchnorm : BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm
torch.nn.modules.channelshuffle : ChannelShuffle
torch.nn.modules.container : ModuleDict ModuleList ParameterDict ParameterList Sequential
torch.nn.modules.conv : Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
torch.nn.modules.distance : CosineSimilarity PairwiseDistance
torch.nn.modules.dropout : AlphaDropout Dropout Dropout1d Dropout2d Dropout3d
    FeatureAlphaDropout
torch.nn.modules.flatten : Flatten Unflatten
torch.nn.modules.fold : Fold Unfold
torch.nn.modules.instancenorm : InstanceNorm1d InstanceNorm2d InstanceNorm3d
torch.nn.modules.linear : Bilinear Identity Linear NonDynamicallyQuantizableLinear
torch.nn.modules.loss : BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss
    GaussianNLLLoss HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss LinearCrossEntropyLoss MSELoss
    MarginRankingLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss
    PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss
torch.nn.modules.normalization : CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm
torch.nn.modules.padding : CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d
    ConstantPad3d ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d
    ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d
torch.nn.modules.pixelshuffle : PixelShuffle PixelUnshuffle
torch.nn.modules.pooling : AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d
    AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d
    FractionalMaxPool2d FractionalMaxPool3d LPPool1d LPPool2d LPPool3d MaxPool1d MaxPool2d
    MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d
torch.nn.modules.rnn : GRU GRUCell LSTM LSTMCell RNN RNNCell
torch.nn.modules.sparse : Embedding EmbeddingBag
torch.nn.modules.transformer : Transformer TransformerDecoder TransformerDecoderLayer
    TransformerEncoder TransformerEncoderLayer
torch.nn.modules.upsampling : Upsample UpsamplingBilinear2d UpsamplingNearest2d
torch.serialization : _get_layout/c
torch.storage : UntypedStorage/
""",
)
