// What the package `workerd` exports, a CommonJS module.

declare module "workerd" {
  const exports: {
    /** Path of the program. */
    readonly default: string;
  };
  export default exports;
}
