"""Model formats: say what a file is, read it safely, turn it into ONNX, compare the two.

What lives here
    `detect` (what a file is, by content), `compressed` and `tensors` (bounded readers), `onnx_io`
    (inspect an ONNX graph, and the `Predictor` that runs one), `schema` (what a converted model
    takes and gives), `convert` (a library's model to ONNX; runs inside a confined process),
    `parity` (does the converted model decide as the original did).

May import
    Floor 0; numpy, onnx and onnxruntime inside the modules that need them.  The libraries that
    load a model (`sklearn`, `skops`, `xgboost`, `lightgbm`, `skl2onnx`) are imported only by the
    functions below `convert`, which callers run confined.

An attacker who owns it can
    misstate what a model file is, convert a model wrongly and hide that it was: the scanner looks
    at the same bytes independently, and parity is measured by another process.
"""
