// Writes the states of llama.cpp's encoders after the last layer, a row per token, as raw f32: states MODEL CONTEXT ID... >FILE
#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int count, char ** words) {
    if (count < 4) return 2;
    llama_log_set([](ggml_log_level level, const char * text, void *) { if (level >= GGML_LOG_LEVEL_WARN) fputs(text, stderr); }, nullptr);
    llama_backend_init();
    llama_model_params model_options = llama_model_default_params();
    model_options.use_extra_bufts = false;
    llama_model * model = llama_model_load_from_file(words[1], model_options);
    if (!model) return 1;
    llama_context_params options = llama_context_default_params();
    options.n_ctx = (uint32_t) atoi(words[2]);
    options.n_batch = options.n_ubatch = options.n_ctx;
    options.embeddings = true;
    options.pooling_type = LLAMA_POOLING_TYPE_NONE;
    options.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    options.n_threads = options.n_threads_batch = 1;
    llama_context * context = llama_init_from_model(model, options);
    if (!context) return 1;
    const int tokens = count - 3;
    llama_batch batch = llama_batch_init(tokens, 0, 1);
    batch.n_tokens = tokens;
    for (int i = 0; i < tokens; i++) {
        batch.token[i] = atoi(words[3 + i]);
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (llama_encode(context, batch)) return 1;
    const int width = llama_model_n_embd(model);
    for (int i = 0; i < tokens; i++) {
        if (fwrite(llama_get_embeddings_ith(context, i), sizeof(float), width, stdout) != (size_t) width) return 1;
    }
    return 0;
}
