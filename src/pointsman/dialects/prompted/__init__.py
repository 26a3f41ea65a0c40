"""What models lack, taught by prompt and schema: tool calls above all."""
