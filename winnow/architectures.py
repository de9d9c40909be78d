"""The architectures of the model registry: where each is defined, told without importing it.

Code that names one depends on its module alone, so that a new architecture makes no job run again.
"""

from __future__ import annotations

OF_IMAGES = {
    "mlp": "winnow.models.mlp.MLP",
    "small_cnn": "winnow.models.small_cnn.SmallCNN",
    "residual": "winnow.models.residual.ResidualNet",
    "depthwise_cnn": "winnow.models.depthwise_cnn.DepthwiseCNN",
    "fastgrnn": "winnow.models.fastgrnn.FastGRNN",
    "efficientnet_lite0": "winnow.models.efficientnet_lite0.EfficientNetLite0",
    "protopnet": "winnow.models.protopnet.ProtoPNet",
    "transfer_net": "winnow.models.transfer_net.TransferNet",
}
OF_TABLES = {"table_mlp": "winnow.models.tables.TableMLP", "table_linear": "winnow.models.tables.TableLinear"}
OF_TEXT = {
    "transformer": "winnow.models.transformer.Transformer",
    "multi_query_transformer": "winnow.models.multi_query_transformer.MultiQueryTransformer",
    "positional_transformer": "winnow.models.positions.PositionalTransformer",
    "moe_x_transformer": "winnow.models.experts.MoEXTransformer",
    "hooked_transformer": "winnow.models.hooked_transformer.HookedTransformer",
    "llama": "winnow.models.llama.Llama",
    "duo_transformer": "winnow.compress.duo.DuoTransformer",
    "routed_transformer": "winnow.models.routed_transformer.RoutedTransformer",
    "thin_transformer": "winnow.models.thin_transformer.ThinTransformer",
    "text_encoder": "winnow.models.text_encoder.TextEncoder",
}
OF_INTERACTIONS = {"sasrec": "winnow.models.sasrec.SASRec", "gru4rec": "winnow.models.gru4rec.GRU4Rec"}
ARCHITECTURES = OF_IMAGES | OF_TABLES | OF_TEXT | OF_INTERACTIONS
